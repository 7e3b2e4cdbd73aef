"""HTTP: the dialects, the main screen, the cold routes. Given use cases; knows no wiring."""
