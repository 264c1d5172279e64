#version 330 core

// A disc with an analytic soft edge, and a darker rim that keeps neighbours apart.

in vec4 tint;
flat in float edge;

out vec4 colour;

void main() {
  float distance = length(gl_PointCoord - 0.5) * (2.0 * edge + 1.0);
  float cover = clamp(edge + 0.5 - distance, 0.0, 1.0);
  float rim = clamp(distance - edge + 1.5, 0.0, 1.0);
  colour = vec4(tint.rgb * (1.0 - 0.5 * rim), tint.a * cover);
}
