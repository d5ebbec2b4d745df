"""Raws whose truth is known: simulated from clean scenes, or put together from exposure stacks."""
