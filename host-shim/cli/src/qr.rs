//! QR codes for the terminal and as files.

use crate::failure::Failure;
use anstyle::{Ansi256Color, Style};
use qrcode::render::{svg, unicode::Dense1x2};
use qrcode::{Color, QrCode};
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The light border that a scanner needs, in modules (ISO/IEC 18004).
const QUIET_ZONE_MODULES: usize = 4;

/// The side of one module in a PNG, in pixels.
const MODULE_PIXELS: usize = 8;

/// The code as half-block characters, two modules to a character. Light modules are drawn and dark ones left out,
/// white on black: with colours it is right on any terminal, without them on a dark one.
pub(crate) fn for_terminal(text: &str) -> Option<Zeroizing<String>> {
    let code = QrCode::new(text).ok()?;
    let picture = code.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build();
    let style = Style::new().fg_color(Some(Ansi256Color(231).into())).bg_color(Some(Ansi256Color(16).into()));
    let mut out = Zeroizing::new(String::with_capacity(picture.len() * 2));
    for line in Zeroizing::new(picture).lines() {
        writeln!(out, "{style}{line}{style:#}").expect("a String takes every write");
    }
    Some(out)
}

enum Format {
    Png,
    Svg,
}

/// A new file that only its owner can read, made before there is anything to put into it. Dropped without
/// [`QrFile::save`], it is removed again.
pub(crate) struct QrFile {
    path: PathBuf,
    file: File,
    format: Format,
    keep: bool,
}

impl QrFile {
    /// Makes the file; its name decides the format. An existing file is never written over.
    pub(crate) fn create(path: &Path) -> Result<Self, Failure> {
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("png") => Format::Png,
            Some("svg") => Format::Svg,
            _ => return Err(Failure::Usage("the QR code's file must end in .png or .svg".to_owned())),
        };
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file =
            file.map_err(|error| Failure::Usage(format!("cannot create {}: {error}", path.display())))?;
        Ok(Self { path: path.to_owned(), file, format, keep: false })
    }

    /// Draws `text` into the file.
    pub(crate) fn save(mut self, text: &str) -> io::Result<()> {
        let code = QrCode::new(text).map_err(io::Error::other)?;
        match self.format {
            Format::Png => write_png(&code, &mut self.file)?,
            Format::Svg => {
                let picture = Zeroizing::new(code.render::<svg::Color>().min_dimensions(320, 320).build());
                self.file.write_all(picture.as_bytes())?;
            }
        }
        self.file.sync_all()?;
        self.keep = true;
        Ok(())
    }
}

impl Drop for QrFile {
    fn drop(&mut self) {
        if !self.keep {
            // It holds nothing of worth, or half a picture.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// One bit a pixel, white is 1.
fn write_png(code: &QrCode, out: &mut File) -> io::Result<()> {
    let (modules, colors) = (code.width(), code.to_colors());
    let side = (modules + 2 * QUIET_ZONE_MODULES) * MODULE_PIXELS;
    let row_bytes = side.div_ceil(8);
    let mut pixels = Zeroizing::new(vec![0xff_u8; row_bytes * side]);
    for (at, _) in colors.iter().enumerate().filter(|(_, color)| **color == Color::Dark) {
        let left = (at % modules + QUIET_ZONE_MODULES) * MODULE_PIXELS;
        let top = (at / modules + QUIET_ZONE_MODULES) * MODULE_PIXELS;
        for y in top..top + MODULE_PIXELS {
            for x in left..left + MODULE_PIXELS {
                pixels[y * row_bytes + x / 8] &= !(0x80 >> (x % 8));
            }
        }
    }
    let pixel_side = u32::try_from(side).expect("the largest QR code has 177 modules a side");
    let mut encoder = png::Encoder::new(out, pixel_side, pixel_side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().map_err(io::Error::other)?;
    writer.write_image_data(&pixels).map_err(io::Error::other)?;
    writer.finish().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const TEXT: &str = "otpauth://totp/Countersign:alice?secret=JBSWY3DPEHPK3PXP&issuer=Countersign";

    /// Whether the module at (x, y) is dark, the border included.
    fn expected(code: &QrCode, x: usize, y: usize) -> bool {
        let inside = |at: usize| at.checked_sub(QUIET_ZONE_MODULES).filter(|at| *at < code.width());
        match (inside(x), inside(y)) {
            (Some(x), Some(y)) => code[(x, y)] == Color::Dark,
            _ => false,
        }
    }

    #[test]
    fn the_terminal_shows_exactly_the_modules() {
        let code = QrCode::new(TEXT).unwrap();
        let shown = for_terminal(TEXT).unwrap();
        let plain = anstream::adapter::strip_str(&shown).to_string();
        let lines: Vec<Vec<char>> = plain.lines().map(|line| line.chars().collect()).collect();
        let side = code.width() + 2 * QUIET_ZONE_MODULES;
        assert_eq!((lines.len(), lines[0].len()), (side.div_ceil(2), side));
        for (row, line) in lines.iter().enumerate() {
            for (x, character) in line.iter().enumerate() {
                let light = |y: usize| y < side && !expected(&code, x, y);
                let wanted = match (light(2 * row), light(2 * row + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                };
                assert_eq!(*character, wanted, "column {x}, line {row}");
            }
        }
    }

    #[test]
    fn the_png_holds_exactly_the_modules() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.png");
        QrFile::create(&path).unwrap().save(TEXT).unwrap();
        let code = QrCode::new(TEXT).unwrap();
        let file = io::BufReader::new(File::open(&path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let side = (code.width() + 2 * QUIET_ZONE_MODULES) * MODULE_PIXELS;
        assert_eq!((info.width as usize, info.height as usize), (side, side));
        for y in 0..side {
            for x in 0..side {
                let dark = pixels[y * info.line_size + x / 8] & (0x80 >> (x % 8)) == 0;
                assert_eq!(dark, expected(&code, x / MODULE_PIXELS, y / MODULE_PIXELS), "({x}, {y})");
            }
        }
    }

    #[test]
    fn a_file_is_private_new_and_gone_if_nothing_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alice.svg");
        drop(QrFile::create(&path).unwrap());
        assert!(!path.exists());
        QrFile::create(&path).unwrap().save(TEXT).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(std::fs::read_to_string(&path).unwrap().contains("<svg"));
        assert!(QrFile::create(&path).is_err(), "written over");
        assert!(path.exists(), "refusing removed it");
        assert!(QrFile::create(&folder.path().join("alice.gif")).is_err());
    }
}
