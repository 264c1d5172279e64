#version 330 core

in vec4 tint;
in float across;
flat in float half_width;

out vec4 colour;

void main() { colour = vec4(tint.rgb, tint.a * clamp(half_width + 0.5 - abs(across), 0.0, 1.0)); }
