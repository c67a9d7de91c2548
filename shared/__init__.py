"""The utilities that the papers share. Subjects are imported by module (``shared.data.mnist``), never from here."""
