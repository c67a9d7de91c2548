"""Grokking as the transition from lazy to rich training dynamics (Kumar, Bordelon, Gershman, Pehlevan, 2023)."""
