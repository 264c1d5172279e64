#version 330 core

// One sprite for each point: a square that holds the disc and its soft edge.

layout(location = 0) in vec3 position;
layout(location = 1) in vec4 colour;
layout(location = 2) in float radius;  // at the centre of the view

uniform mat4 matrix;
uniform float scale;       // pixels to a unit of radius
uniform vec2 depth_range;  // clip w of the nearest and the farthest point; equal: no depth cue
uniform vec3 background;
uniform float draft;  // 1: an opaque square, a little smaller than the disc

out vec4 tint;
flat out float edge;

void main() {
  gl_Position = matrix * vec4(position, 1.0);
  float range = depth_range.y - depth_range.x;
  float depth = range > 0.0 ? clamp((gl_Position.w - depth_range.x) / range, 0.0, 1.0) : 0.0;
  edge = scale * radius * (range > 0.0 ? mix(1.25, 0.75, depth) : 1.0);
  vec3 seen = mix(colour.rgb, background, 0.42 * depth);
  tint = draft > 0.0 ? vec4(mix(background, seen, colour.a), 1.0) : vec4(seen, colour.a);
  gl_PointSize = draft > 0.0 ? max(1.0, floor(1.4 * edge)) : 2.0 * edge + 1.0;
}
