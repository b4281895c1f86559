"""Asset checks, in modules named like the stages they check. They report and block; invariants raise in the assets."""
