"""The page of /dashboard: its HTML, style and scripts, and their assembly."""
