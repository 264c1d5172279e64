#version 330 core

// A disc with an analytic soft edge, and a darker rim that keeps neighbours apart.

in vec4 tint;
in vec2 offset;
flat in float edge;

out vec4 colour;

void main() {
  float distance = length(offset);
  float cover = 1.0 - smoothstep(edge - 0.5, edge + 0.5, distance);
  float rim = smoothstep(edge - 1.5, edge - 0.5, distance);
  colour = vec4(tint.rgb * mix(1.0, 0.5, rim), tint.a * cover);
}
