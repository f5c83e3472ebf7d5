//! What holds for any bytes: the functions panic when it does not. Tests and fuzz targets call them.
