#include "views/gl_functions.h"

namespace savepoint::views {
namespace {

constexpr GLenum kSwitches[] = {GL_BLEND, GL_DEPTH_TEST, GL_CULL_FACE, GL_SCISSOR_TEST, GL_PROGRAM_POINT_SIZE};

template <class Function>
bool find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(glfwGetProcAddress(name));
    return function != nullptr;
}

}  // namespace

bool GlFunctions::load() {
    bool all = true;
    all &= find(ActiveTexture, "glActiveTexture");
    all &= find(AttachShader, "glAttachShader");
    all &= find(BindBuffer, "glBindBuffer");
    all &= find(BindFramebuffer, "glBindFramebuffer");
    all &= find(BindTexture, "glBindTexture");
    all &= find(BindVertexArray, "glBindVertexArray");
    all &= find(BlendFuncSeparate, "glBlendFuncSeparate");
    all &= find(BlendEquation, "glBlendEquation");
    all &= find(BufferData, "glBufferData");
    all &= find(CheckFramebufferStatus, "glCheckFramebufferStatus");
    all &= find(Clear, "glClear");
    all &= find(ClearColor, "glClearColor");
    all &= find(CompileShader, "glCompileShader");
    all &= find(CreateProgram, "glCreateProgram");
    all &= find(CreateShader, "glCreateShader");
    all &= find(DeleteBuffers, "glDeleteBuffers");
    all &= find(DeleteFramebuffers, "glDeleteFramebuffers");
    all &= find(DeleteProgram, "glDeleteProgram");
    all &= find(DeleteShader, "glDeleteShader");
    all &= find(DeleteTextures, "glDeleteTextures");
    all &= find(DeleteVertexArrays, "glDeleteVertexArrays");
    all &= find(Disable, "glDisable");
    all &= find(DrawElements, "glDrawElements");
    all &= find(Enable, "glEnable");
    all &= find(EnableVertexAttribArray, "glEnableVertexAttribArray");
    all &= find(FramebufferTexture2D, "glFramebufferTexture2D");
    all &= find(GenBuffers, "glGenBuffers");
    all &= find(GenFramebuffers, "glGenFramebuffers");
    all &= find(GenTextures, "glGenTextures");
    all &= find(GenVertexArrays, "glGenVertexArrays");
    all &= find(GetIntegerv, "glGetIntegerv");
    all &= find(GetProgramInfoLog, "glGetProgramInfoLog");
    all &= find(GetProgramiv, "glGetProgramiv");
    all &= find(GetShaderInfoLog, "glGetShaderInfoLog");
    all &= find(GetShaderiv, "glGetShaderiv");
    all &= find(GetUniformLocation, "glGetUniformLocation");
    all &= find(IsEnabled, "glIsEnabled");
    all &= find(LinkProgram, "glLinkProgram");
    all &= find(ShaderSource, "glShaderSource");
    all &= find(TexImage2D, "glTexImage2D");
    all &= find(TexParameteri, "glTexParameteri");
    all &= find(Uniform1f, "glUniform1f");
    all &= find(Uniform2f, "glUniform2f");
    all &= find(Uniform3f, "glUniform3f");
    all &= find(UniformMatrix4fv, "glUniformMatrix4fv");
    all &= find(UseProgram, "glUseProgram");
    all &= find(VertexAttribPointer, "glVertexAttribPointer");
    all &= find(Viewport, "glViewport");
    return all;
}

GlStateGuard::GlStateGuard(const GlFunctions& gl) : gl_(gl) {
    gl.GetIntegerv(GL_DRAW_FRAMEBUFFER_BINDING, &draw_buffer_);
    gl.GetIntegerv(GL_READ_FRAMEBUFFER_BINDING, &read_buffer_);
    gl.GetIntegerv(GL_CURRENT_PROGRAM, &program_);
    gl.GetIntegerv(GL_VERTEX_ARRAY_BINDING, &array_);
    gl.GetIntegerv(GL_ARRAY_BUFFER_BINDING, &buffer_);
    gl.GetIntegerv(GL_ACTIVE_TEXTURE, &unit_);
    gl.GetIntegerv(GL_TEXTURE_BINDING_2D, &texture_);
    gl.GetIntegerv(GL_VIEWPORT, viewport_);
    gl.GetIntegerv(GL_BLEND_SRC_RGB, &blend_[0]);
    gl.GetIntegerv(GL_BLEND_DST_RGB, &blend_[1]);
    gl.GetIntegerv(GL_BLEND_SRC_ALPHA, &blend_[2]);
    gl.GetIntegerv(GL_BLEND_DST_ALPHA, &blend_[3]);
    gl.GetIntegerv(GL_BLEND_EQUATION_RGB, &equation_);
    for (int i = 0; i < 5; ++i) enabled_[i] = gl.IsEnabled(kSwitches[i]) == GL_TRUE;
}

GlStateGuard::~GlStateGuard() {
    for (int i = 0; i < 5; ++i) enabled_[i] ? gl_.Enable(kSwitches[i]) : gl_.Disable(kSwitches[i]);
    gl_.BlendEquation(equation_);
    gl_.BlendFuncSeparate(blend_[0], blend_[1], blend_[2], blend_[3]);
    gl_.Viewport(viewport_[0], viewport_[1], viewport_[2], viewport_[3]);
    gl_.BindTexture(GL_TEXTURE_2D, texture_);
    gl_.ActiveTexture(unit_);
    gl_.BindBuffer(GL_ARRAY_BUFFER, buffer_);
    gl_.BindVertexArray(array_);
    gl_.UseProgram(program_);
    gl_.BindFramebuffer(GL_DRAW_FRAMEBUFFER, draw_buffer_);
    gl_.BindFramebuffer(GL_READ_FRAMEBUFFER, read_buffer_);
}

}  // namespace savepoint::views
