"""Unlearning: losses, the methods named after them, and the loop that runs a method on a target model."""
