#pragma once

#include <string>
#include <vector>

namespace savepoint::app {

// A frame buffer to draw into and to read back from: what a hidden or covered window shows is undefined, and so is
// the back buffer after a swap. Wants a current OpenGL 3.3 context.
class Offscreen {
   public:
    Offscreen() = default;
    ~Offscreen();
    Offscreen(const Offscreen&) = delete;
    Offscreen& operator=(const Offscreen&) = delete;

    void bind(int width, int height);  // made anew when the size changes
    void unbind();
    // RGBA, top row first, of a part of what was drawn last.
    std::vector<unsigned char> read(int x, int y, int width, int height) const;
    int width() const { return width_; }
    int height() const { return height_; }

   private:
    void release();
    unsigned int frame_ = 0, colour_ = 0;
    int width_ = 0, height_ = 0;
};

// Throws std::runtime_error with the path when it cannot be written.
void write_png(const std::string& path, const std::vector<unsigned char>& rgba, int width, int height);

}  // namespace savepoint::app
