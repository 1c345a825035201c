"""The page of /dashboard: its HTML, style and scripts, and what makes one page of them."""
