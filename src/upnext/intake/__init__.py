"""The data's way in: import, mapping, data doctor, public layouts."""
