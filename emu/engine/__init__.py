"""The machine layer: Unicorn as the processor, and the mirror of a vm_map in it."""
