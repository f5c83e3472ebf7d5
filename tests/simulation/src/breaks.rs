//! The plugin broken on purpose.
