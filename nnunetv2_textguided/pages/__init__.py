"""What all HTML pages share: frame, style, components, and figures that follow the page's theme."""
