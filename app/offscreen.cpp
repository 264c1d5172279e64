#include "app/offscreen.h"

#define GL_GLEXT_PROTOTYPES
#define GLFW_INCLUDE_GLCOREARB
#include <GLFW/glfw3.h>

#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STB_IMAGE_WRITE_STATIC
#include <stb_image_write.h>

#include <cstring>
#include <stdexcept>

namespace savepoint::app {

Offscreen::~Offscreen() {
    if (glfwGetCurrentContext()) release();
}

void Offscreen::release() {
    if (frame_) glDeleteFramebuffers(1, &frame_);
    if (colour_) glDeleteTextures(1, &colour_);
    frame_ = colour_ = 0;
}

void Offscreen::bind(int width, int height) {
    if (width != width_ || height != height_) {
        release();
        width_ = width, height_ = height;
        glGenTextures(1, &colour_);
        glBindTexture(GL_TEXTURE_2D, colour_);
        glTexImage2D(GL_TEXTURE_2D, 0, GL_RGBA8, width, height, 0, GL_RGBA, GL_UNSIGNED_BYTE, nullptr);
        glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MIN_FILTER, GL_LINEAR);
        glTexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MAG_FILTER, GL_LINEAR);
        glGenFramebuffers(1, &frame_);
        glBindFramebuffer(GL_FRAMEBUFFER, frame_);
        glFramebufferTexture2D(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_TEXTURE_2D, colour_, 0);
        if (glCheckFramebufferStatus(GL_FRAMEBUFFER) != GL_FRAMEBUFFER_COMPLETE)
            throw std::runtime_error("the graphics driver offers no frame buffer of the window's size");
    }
    glBindFramebuffer(GL_FRAMEBUFFER, frame_);
}

void Offscreen::unbind() { glBindFramebuffer(GL_FRAMEBUFFER, 0); }

std::vector<unsigned char> Offscreen::read(int x, int y, int width, int height) const {
    std::vector<unsigned char> rows(static_cast<size_t>(4) * width * height), out(rows.size());
    GLint before = 0;
    glGetIntegerv(GL_READ_FRAMEBUFFER_BINDING, &before);
    glBindFramebuffer(GL_READ_FRAMEBUFFER, frame_);
    glPixelStorei(GL_PACK_ALIGNMENT, 1);
    glReadPixels(x, height_ - y - height, width, height, GL_RGBA, GL_UNSIGNED_BYTE, rows.data());
    glBindFramebuffer(GL_READ_FRAMEBUFFER, static_cast<GLuint>(before));
    const size_t stride = static_cast<size_t>(4) * width;
    for (int row = 0; row < height; ++row) std::memcpy(&out[stride * row], &rows[stride * (height - 1 - row)], stride);
    for (size_t i = 3; i < out.size(); i += 4) out[i] = 255;
    return out;
}

void write_png(const std::string& path, const std::vector<unsigned char>& rgba, int width, int height) {
    if (!stbi_write_png(path.c_str(), width, height, 4, rgba.data(), 4 * width))
        throw std::runtime_error(path + ": cannot write the picture");
}

}  // namespace savepoint::app
