"""The machine layer: Unicorn as CPU and pmap hardware, and everything a person touches."""
