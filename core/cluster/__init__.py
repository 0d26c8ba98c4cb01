"""Run workers on Ray: a dispatcher claims jobs and distributes their images over actors on one machine or many."""
