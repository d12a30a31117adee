"""An executable specification and test bench for pipe-buffer address-space allocators."""
