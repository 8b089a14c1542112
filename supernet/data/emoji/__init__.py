"""Emoji of five free designs as a source of captioned pictures."""
