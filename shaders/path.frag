#version 330 core

in vec4 tint;
in float across;
flat in float half_width;

out vec4 colour;

void main() {
  float cover = 1.0 - smoothstep(half_width - 0.5, half_width + 0.5, abs(across));
  colour = vec4(tint.rgb, tint.a * cover);
}
