//! Text within SVG and HTML.

/// The text with the characters that mark elements and attributes written as entities.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
