"""The live service: connections to the venues, what they tell as records, and where those go."""
