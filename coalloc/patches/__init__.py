"""Published changes of pipe code, as data: before, after, load, what was published, and what the model gives."""
