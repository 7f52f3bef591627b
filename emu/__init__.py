"""The machine layer: Unicorn as CPU and pmap hardware, and everything a person touches.

Rooms, bottom first; none imports what stands above it: program, dump, engine, machine, trace, why, view, api, cli.
``emu/README.md`` says what lives where; ``emu.api`` has the stable names.
"""
