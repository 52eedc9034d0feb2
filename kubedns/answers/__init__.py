"""Replies made before the query comes, and kept for as long as what they were made from stays as it is."""
