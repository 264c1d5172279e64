#version 330 core

// Three vertices for each line, all with the same attributes: the head of an arrow at its end, before the disc there.

layout(location = 0) in vec3 from;
layout(location = 1) in vec3 to;
layout(location = 3) in vec4 to_colour;
layout(location = 5) in float head;  // pixels

uniform mat4 matrix;
uniform float scale;
uniform vec2 viewport;  // pixels
uniform vec2 depth_range;
uniform vec3 background;

out vec4 tint;
out float across;
flat out float half_width;

void main() {
  vec4 a = matrix * vec4(from, 1.0), b = matrix * vec4(to, 1.0);
  float size = head * scale;
  vec2 along = (b.xy / b.w - a.xy / a.w) * 0.5 * viewport;
  float reach = length(along);
  float range = depth_range.y - depth_range.x;
  float depth = range > 0.0 ? clamp((b.w - depth_range.x) / range, 0.0, 1.0) : 0.0;
  float alpha = min(1.0, 1.5 * to_colour.a);
  tint = vec4(mix(to_colour.rgb, background, 0.42 * depth), alpha);
  across = 0.0;
  half_width = 1.0;
  if (a.w <= 0.0 || b.w <= 0.0 || reach < 2.2 * size) {
    gl_Position = vec4(2.0, 2.0, 2.0, 1.0);  // all three outside: nothing
    return;
  }
  vec2 forward = along / reach, side = vec2(-forward.y, forward.x);
  int corner = gl_VertexID % 3;
  vec2 back = -forward * (corner == 0 ? 0.5 : 1.4) * size;
  vec2 offset = back + side * (corner == 0 ? 0.0 : corner == 1 ? 0.42 : -0.42) * size;
  gl_Position = b + vec4(offset * 2.0 / viewport * b.w, 0.0, 0.0);
}
