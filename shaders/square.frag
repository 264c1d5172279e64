#version 330 core

// A point of a draft: as cheap as can be, so that many follow the mouse.

in vec4 tint;
flat in float edge;

out vec4 colour;

void main() { colour = tint; }
