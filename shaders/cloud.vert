#version 330 core

// One instance for each point: a square around it, as large as the disc and its soft edge.

layout(location = 0) in vec3 position;
layout(location = 1) in vec4 colour;
layout(location = 2) in float radius;  // pixels, at the centre of the view

uniform mat4 matrix;
uniform vec2 viewport;     // pixels
uniform vec2 depth_range;  // clip w of the nearest and the farthest point; equal: no depth cue
uniform vec3 background;

out vec4 tint;
out vec2 offset;  // from the centre, in pixels
flat out float edge;

void main() {
  vec2 corner = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  vec4 clip = matrix * vec4(position, 1.0);
  float range = depth_range.y - depth_range.x;
  float depth = range > 0.0 ? clamp((clip.w - depth_range.x) / range, 0.0, 1.0) : 0.0;
  edge = radius * (range > 0.0 ? mix(1.25, 0.75, depth) : 1.0);
  tint = vec4(mix(colour.rgb, background, 0.55 * depth), colour.a);
  offset = corner * (edge + 1.0);
  gl_Position = clip + vec4(offset * 2.0 / viewport * clip.w, 0.0, 0.0);
}
