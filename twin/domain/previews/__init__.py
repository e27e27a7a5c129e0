"""Previews: an environment for every pull request.

Two kinds of durable entity. A *preview source* is one repository's configuration and the slots of what may live at
once; a *pull request* follows one of them as the forge shows it and says what its environment should be.
"""
