#version 330 core

// Four vertices for each line, all with the same attributes: a quad around it, as wide as the line and its soft edges.

layout(location = 0) in vec3 from;
layout(location = 1) in vec3 to;
layout(location = 2) in vec4 from_colour;
layout(location = 3) in vec4 to_colour;
layout(location = 4) in float width;

uniform mat4 matrix;
uniform float scale;       // pixels to a unit of width
uniform vec2 viewport;     // pixels
uniform vec2 depth_range;
uniform vec3 background;

out vec4 tint;
out float across;          // pixels from the middle of the line
flat out float half_width;

// A line that reaches behind the eye is cut there: it would come out mirrored.
vec4 before_eye(vec4 end, vec4 other, float nearest) {
  if (end.w >= nearest || other.w < nearest) return end;
  return mix(end, other, (nearest - end.w) / (other.w - end.w));
}

void main() {
  bool second = (gl_VertexID & 1) == 1;
  float side = (gl_VertexID & 2) == 2 ? 1.0 : -1.0;
  vec4 a = matrix * vec4(from, 1.0), b = matrix * vec4(to, 1.0);
  float nearest = 0.05 * depth_range.x;
  vec4 start = before_eye(a, b, nearest), end = before_eye(b, a, nearest);
  vec2 along = (end.xy / end.w - start.xy / start.w) * viewport;
  vec2 direction = length(along) > 0.0001 ? normalize(along) : vec2(1.0, 0.0);
  half_width = 0.5 * width * scale;
  across = side * (half_width + 0.5);
  vec4 clip = second ? end : start;
  float range = depth_range.y - depth_range.x;
  float depth = range > 0.0 ? clamp((clip.w - depth_range.x) / range, 0.0, 1.0) : 0.0;
  vec4 colour = second ? to_colour : from_colour;
  tint = vec4(mix(colour.rgb, background, 0.42 * depth), colour.a);
  vec2 normal = vec2(-direction.y, direction.x);
  gl_Position = clip + vec4(normal * across * 2.0 / viewport * clip.w, 0.0, 0.0);
}
