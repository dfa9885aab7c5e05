//! Bars, as SVG beside the document that shows them.

use crate::report::thousands;
use anyhow::{Context as _, anyhow};
use plotters::prelude::{Color as _, IntoDrawingArea as _, IntoFont as _, RGBColor, Rectangle, SVGBackend, Text};
use plotters::style::TextStyle;
use std::path::Path;

const WIDTH: u32 = 860;
const ROW: i32 = 34;
const LEFT: i32 = 330;
const RIGHT: i32 = 110;
const TOP: i32 = 44;
/// Readable on white and on black.
const INK: RGBColor = RGBColor(0x6b, 0x72, 0x80);
const OURS: RGBColor = RGBColor(0x25, 0x63, 0xeb);
const OTHERS: RGBColor = RGBColor(0x9c, 0xa3, 0xaf);

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) is_ours: bool,
}

/// Draws bars from 0 on, beside `document`, and returns the markdown that shows them.
pub(crate) fn bars(document: &Path, name: &str, title: &str, bars: &[Bar]) -> anyhow::Result<String> {
    let file = document.with_file_name(format!("performance-{name}.svg"));
    draw(&file, title, bars).map_err(|error| anyhow!("cannot draw {}: {error}", file.display()))?;
    let shown = file.file_name().and_then(|n| n.to_str()).context("a name")?.to_owned();
    Ok(format!("\n![{title}]({shown})"))
}

fn draw(file: &Path, title: &str, bars: &[Bar]) -> Result<(), Box<dyn std::error::Error>> {
    let height = TOP + ROW * bars.len() as i32 + 12;
    let area = SVGBackend::new(file, (WIDTH, height as u32)).into_drawing_area();
    let text = |size: f64| TextStyle::from(("sans-serif", size).into_font()).color(&INK);
    area.draw(&Text::new(title.to_owned(), (12, 12), text(17.0)))?;
    let most = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(WIDTH as i32 - LEFT - RIGHT);
    for (n, bar) in (0_i32..).zip(bars) {
        let top = TOP + ROW * n;
        let end = LEFT + ((bar.value / most * room) as i32).max(1);
        let colour = if bar.is_ours { OURS } else { OTHERS };
        area.draw(&Text::new(bar.name.clone(), (12, top + 6), text(15.0)))?;
        area.draw(&Rectangle::new([(LEFT, top + 2), (end, top + ROW - 8)], colour.filled()))?;
        area.draw(&Text::new(thousands(bar.value), (end + 8, top + 6), text(15.0)))?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn every_bar_is_drawn_with_its_name_and_value() {
        let directory = tempfile::tempdir().unwrap();
        let document = directory.path().join("performance.md");
        let all =
            [("ours", 47_500.0, true), ("theirs", 407.0, false)].map(|(name, value, is_ours)| Bar { name: name.into(), value, is_ours });
        assert_eq!(bars(&document, "test", "A title", &all).unwrap(), "\n![A title](performance-test.svg)");
        let svg = std::fs::read_to_string(directory.path().join("performance-test.svg")).unwrap();
        assert!(["A title", "ours", "theirs", "47,500", "407"].iter().all(|text| svg.contains(text)), "{svg}");
    }
}
