"""What people see: traces as text, the map, verdicts.  Model only."""
