"""Programs of operations as data: generators, importers, replay."""
