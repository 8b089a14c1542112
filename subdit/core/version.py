"""The version, on the lowest floor, so that every room can write it into what it makes."""

VERSION = "0.1.0"
