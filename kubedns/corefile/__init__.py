"""The Corefile language: text to blocks, directives and words, each of which knows its file, line and column."""
