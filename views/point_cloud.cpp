#include "views/point_cloud.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <string_view>

#include "shaders.h"
#include "views/gl_functions.h"

namespace savepoint::views {
namespace {

// The eye is this many extents away from the centre: enough perspective to see depth, too little to distort.
constexpr float kEyeDistance = 3.2f;
constexpr size_t kMany = 20000;                            // from so many points on, a view that moves is a draft
constexpr auto kSettled = std::chrono::milliseconds(150);  // until it is drawn in full

using Matrix = std::array<float, 16>;  // column-major

Matrix multiply(const Matrix& a, const Matrix& b) {
    Matrix out{};
    for (int c = 0; c < 4; ++c)
        for (int r = 0; r < 4; ++r)
            for (int k = 0; k < 4; ++k) out[4 * c + r] += a[4 * k + r] * b[4 * c + k];
    return out;
}

struct Axes {
    Vec3 right, up, back;
};  // of the view, in data space

Axes axes_of(float yaw, float pitch) {
    const float cy = std::cos(yaw), sy = std::sin(yaw), cp = std::cos(pitch), sp = std::sin(pitch);
    return {{cy, 0, -sy}, {-sp * sy, cp, -sp * cy}, {cp * sy, sp, cp * cy}};
}

float dot(const Vec3& a, const Vec3& b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

Matrix flat_matrix(const CloudCamera& camera, float aspect) {
    const float sx = 1 / (camera.extent * aspect), sy = 1 / camera.extent;
    return {sx, 0, 0, 0, 0, sy, 0, 0, 0, 0, 0, 0, -camera.centre[0] * sx, -camera.centre[1] * sy, 0, 1};
}

Matrix orbit_matrix(const CloudCamera& camera, float aspect) {
    const Axes axes = axes_of(camera.yaw, camera.pitch);
    const float eye = kEyeDistance * camera.extent, near = 0.02f * eye, far = 100 * eye;
    Matrix view{};
    for (int k = 0; k < 3; ++k)
        view[4 * k] = axes.right[k], view[4 * k + 1] = axes.up[k], view[4 * k + 2] = axes.back[k];
    view[12] = -dot(axes.right, camera.centre), view[13] = -dot(axes.up, camera.centre);
    view[14] = -dot(axes.back, camera.centre) - eye;
    view[15] = 1;
    Matrix lens{};
    lens[0] = kEyeDistance / aspect, lens[5] = kEyeDistance;
    lens[10] = (far + near) / (near - far), lens[11] = -1, lens[14] = 2 * far * near / (near - far);
    return multiply(lens, view);
}

float clip_w(const Matrix& m, const Vec3& p) { return m[3] * p[0] + m[7] * p[1] + m[11] * p[2] + m[15]; }

GLuint compile(const GlFunctions& gl, GLenum stage, std::string_view source, std::string& error) {
    const GLuint shader = gl.CreateShader(stage);
    const char* text = source.data();
    const auto length = static_cast<GLint>(source.size());
    gl.ShaderSource(shader, 1, &text, &length);
    gl.CompileShader(shader);
    GLint ok = 0;
    gl.GetShaderiv(shader, GL_COMPILE_STATUS, &ok);
    if (ok == GL_TRUE) return shader;
    char log[512] = "";
    gl.GetShaderInfoLog(shader, sizeof log, nullptr, log);
    error = std::string("the OpenGL driver refused a shader: ") + log;
    gl.DeleteShader(shader);
    return 0;
}

GLuint link(const GlFunctions& gl, std::string_view vertex, std::string_view fragment, std::string& error) {
    const GLuint a = compile(gl, GL_VERTEX_SHADER, vertex, error), b = compile(gl, GL_FRAGMENT_SHADER, fragment, error);
    if (a == 0 || b == 0) return 0;
    const GLuint program = gl.CreateProgram();
    gl.AttachShader(program, a);
    gl.AttachShader(program, b);
    gl.LinkProgram(program);
    gl.DeleteShader(a);
    gl.DeleteShader(b);
    GLint ok = 0;
    gl.GetProgramiv(program, GL_LINK_STATUS, &ok);
    if (ok == GL_TRUE) return program;
    char log[512] = "";
    gl.GetProgramInfoLog(program, sizeof log, nullptr, log);
    error = std::string("the OpenGL driver refused a program: ") + log;
    return 0;
}

// A line is a quad of two triangles.
void add_quad(std::vector<uint32_t>& indices, uint32_t line) {
    for (const uint32_t corner : {0u, 1u, 2u, 2u, 1u, 3u}) indices.push_back(4 * line + corner);
}

struct Attribute {
    int components;
    GLenum type;
    bool normalised;
    size_t offset;
};

}  // namespace

std::array<float, 16> CloudCamera::matrix(float aspect) const {
    return flat ? flat_matrix(*this, aspect) : orbit_matrix(*this, aspect);
}

Vec3 CloudCamera::right() const { return flat ? Vec3{1, 0, 0} : axes_of(yaw, pitch).right; }
Vec3 CloudCamera::up() const { return flat ? Vec3{0, 1, 0} : axes_of(yaw, pitch).up; }

Projected project(const Matrix& m, const Vec3& p, ImVec2 low, ImVec2 high) {
    Projected out;
    out.w = clip_w(m, p);
    if (out.w <= 0) return out;
    const float x = (m[0] * p[0] + m[4] * p[1] + m[8] * p[2] + m[12]) / out.w;
    const float y = (m[1] * p[0] + m[5] * p[1] + m[9] * p[2] + m[13]) / out.w;
    out.at = {low.x + (high.x - low.x) * (0.5f + 0.5f * x), low.y + (high.y - low.y) * (0.5f - 0.5f * y)};
    return out;
}

struct PointCloud::Impl {
    // A program with its vertices and their order.
    struct Batch {
        GLuint program = 0, array = 0, vertices = 0, indices = 0;
        GLsizei count = 0;
    };

    GlFunctions gl{};
    bool tried = false, ready = false;
    std::string error;
    Batch discs, paths, heads, grid;
    GLuint squares = 0;  // program that draws the discs as a draft
    GLuint texture = 0, target = 0;
    int width = 0, height = 0, renders = 0;

    std::vector<CloudPoint> points;
    std::vector<CloudLine> lines, frame;
    bool stale_data = true, stale_frame = true, draft = false;
    size_t flat_order = SIZE_MAX;  // so many points are in the index buffer as they come; SIZE_MAX: in another order
    std::chrono::steady_clock::time_point moved{};
    CloudCamera shown;
    ImU32 shown_background = 0;
    float shown_scale = 1;

    bool prepare();
    Batch make_batch(GLuint program, size_t stride, std::initializer_list<Attribute> attributes) const;
    Batch make_line_batch(GLuint program) const;
    bool resize(int new_width, int new_height);
    void upload_points();
    void upload_lines(Batch& batch, const std::vector<CloudLine>& rows) const;
    void upload_heads();
    void choose_points(const CloudCamera& camera, const Matrix& matrix);
    void sort_points(const CloudCamera& camera, const Matrix& matrix);
    void upload_indices(Batch& batch, const std::vector<uint32_t>& indices) const;
    ImVec2 depth_range(const CloudCamera& camera, const Matrix& matrix) const;
    void draw(const CloudCamera& camera, ImU32 background, float scale);
    void draw_batch(const Batch& batch, GLenum mode) const;
};

bool PointCloud::Impl::prepare() {
    if (tried) return ready;
    tried = true;
    const GLuint disc = link(gl, shaders::cloud_vert, shaders::cloud_frag, error);
    squares = link(gl, shaders::cloud_vert, shaders::square_frag, error);
    const GLuint path = link(gl, shaders::path_vert, shaders::path_frag, error);
    const GLuint head = link(gl, shaders::head_vert, shaders::path_frag, error);
    using P = CloudPoint;
    discs = make_batch(disc, sizeof(P),
                       {{3, GL_FLOAT, false, offsetof(P, at)},
                        {4, GL_UNSIGNED_BYTE, true, offsetof(P, colour)},
                        {1, GL_FLOAT, false, offsetof(P, radius)}});
    paths = make_line_batch(path), grid = make_line_batch(path), heads = make_line_batch(head);
    ready = disc != 0 && path != 0 && head != 0 && squares != 0;
    return ready;
}

PointCloud::Impl::Batch PointCloud::Impl::make_line_batch(GLuint program) const {
    using L = CloudLine;
    return make_batch(program, sizeof(L),
                      {{3, GL_FLOAT, false, offsetof(L, from)},
                       {3, GL_FLOAT, false, offsetof(L, to)},
                       {4, GL_UNSIGNED_BYTE, true, offsetof(L, from_colour)},
                       {4, GL_UNSIGNED_BYTE, true, offsetof(L, to_colour)},
                       {1, GL_FLOAT, false, offsetof(L, width)},
                       {1, GL_FLOAT, false, offsetof(L, head)}});
}

PointCloud::Impl::Batch PointCloud::Impl::make_batch(GLuint program, size_t stride,
                                                     std::initializer_list<Attribute> attributes) const {
    Batch batch;
    batch.program = program;
    gl.GenVertexArrays(1, &batch.array);
    gl.GenBuffers(1, &batch.vertices);
    gl.GenBuffers(1, &batch.indices);
    gl.BindVertexArray(batch.array);
    gl.BindBuffer(GL_ARRAY_BUFFER, batch.vertices);
    gl.BindBuffer(GL_ELEMENT_ARRAY_BUFFER, batch.indices);  // the vertex array keeps it
    GLuint index = 0;
    for (const Attribute& a : attributes) {
        gl.EnableVertexAttribArray(index);
        gl.VertexAttribPointer(index, a.components, a.type, a.normalised ? GL_TRUE : GL_FALSE,
                               static_cast<GLsizei>(stride), reinterpret_cast<const void*>(a.offset));
        ++index;
    }
    return batch;
}

bool PointCloud::Impl::resize(int new_width, int new_height) {
    if (texture != 0 && new_width == width && new_height == height) return true;
    if (texture == 0) gl.GenTextures(1, &texture), gl.GenFramebuffers(1, &target);
    width = new_width, height = new_height;
    gl.ActiveTexture(GL_TEXTURE0);
    gl.BindTexture(GL_TEXTURE_2D, texture);
    gl.TexImage2D(GL_TEXTURE_2D, 0, GL_RGBA8, width, height, 0, GL_RGBA, GL_UNSIGNED_BYTE, nullptr);
    gl.TexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MIN_FILTER, GL_LINEAR);
    gl.TexParameteri(GL_TEXTURE_2D, GL_TEXTURE_MAG_FILTER, GL_LINEAR);
    gl.BindFramebuffer(GL_FRAMEBUFFER, target);
    gl.FramebufferTexture2D(GL_FRAMEBUFFER, GL_COLOR_ATTACHMENT0, GL_TEXTURE_2D, texture, 0);
    if (gl.CheckFramebufferStatus(GL_FRAMEBUFFER) == GL_FRAMEBUFFER_COMPLETE) return true;
    error = "the OpenGL driver cannot draw into a texture of this size";
    return false;
}

ImVec2 PointCloud::Impl::depth_range(const CloudCamera& camera, const Matrix& matrix) const {
    if (camera.flat || points.empty()) return {1, 1};
    float low = FLT_MAX, high = 0;
    for (const auto& point : points) {
        const float w = clip_w(matrix, point.at);
        if (w > 0) low = std::min(low, w), high = std::max(high, w);
    }
    // An outlier must not take the whole range for itself.
    const float eye = kEyeDistance * camera.extent;
    return {std::clamp(low, 0.4f * eye, eye), std::clamp(high, eye, 1.8f * eye)};
}

void PointCloud::Impl::upload_points() {
    gl.BindVertexArray(discs.array);
    gl.BindBuffer(GL_ARRAY_BUFFER, discs.vertices);
    gl.BufferData(GL_ARRAY_BUFFER, static_cast<GLsizeiptr>(points.size() * sizeof(CloudPoint)), points.data(),
                  GL_STATIC_DRAW);
}

void PointCloud::Impl::upload_lines(Batch& batch, const std::vector<CloudLine>& rows) const {
    std::vector<CloudLine> corners;
    std::vector<uint32_t> indices;
    corners.reserve(4 * rows.size());
    indices.reserve(6 * rows.size());
    for (uint32_t i = 0; i < rows.size(); ++i) corners.insert(corners.end(), 4, rows[i]), add_quad(indices, i);
    gl.BindVertexArray(batch.array);
    gl.BindBuffer(GL_ARRAY_BUFFER, batch.vertices);
    gl.BufferData(GL_ARRAY_BUFFER, static_cast<GLsizeiptr>(corners.size() * sizeof(CloudLine)), corners.data(),
                  GL_STATIC_DRAW);
    upload_indices(batch, indices);
}

void PointCloud::Impl::upload_heads() {
    std::vector<CloudLine> corners;
    for (const CloudLine& line : lines)
        if (line.head > 0) corners.insert(corners.end(), 3, line);
    std::vector<uint32_t> indices(corners.size());
    std::iota(indices.begin(), indices.end(), 0u);
    gl.BindVertexArray(heads.array);
    gl.BindBuffer(GL_ARRAY_BUFFER, heads.vertices);
    gl.BufferData(GL_ARRAY_BUFFER, static_cast<GLsizeiptr>(corners.size() * sizeof(CloudLine)), corners.data(),
                  GL_STATIC_DRAW);
    upload_indices(heads, indices);
}

void PointCloud::Impl::upload_indices(Batch& batch, const std::vector<uint32_t>& indices) const {
    gl.BindVertexArray(batch.array);
    gl.BufferData(GL_ELEMENT_ARRAY_BUFFER, static_cast<GLsizeiptr>(indices.size() * sizeof(uint32_t)), indices.data(),
                  GL_STREAM_DRAW);
    batch.count = static_cast<GLsizei>(indices.size());
}

// Smooth edges blend with what is behind them, so what is behind has to be there already. By buckets of depth, which is
// as good as exact for what can be told apart on screen, in a time that grows with the number of points alone.
void PointCloud::Impl::sort_points(const CloudCamera& camera, const Matrix& matrix) {
    if (camera.flat && flat_order == points.size()) return;  // they are in the order given already
    std::vector<uint32_t> order(points.size());
    std::iota(order.begin(), order.end(), 0u);
    flat_order = camera.flat ? points.size() : SIZE_MAX;
    if (!camera.flat && !points.empty()) {
        constexpr size_t kBuckets = 1 << 14;
        std::vector<float> depth(points.size());
        for (size_t i = 0; i < points.size(); ++i) depth[i] = clip_w(matrix, points[i].at);
        const auto [low, high] = std::ranges::minmax(depth);
        const float scale = high > low ? static_cast<float>(kBuckets - 1) / (high - low) : 0;
        std::vector<uint32_t> start(kBuckets + 1, 0), bucket(points.size());
        for (size_t i = 0; i < points.size(); ++i) {
            bucket[i] = static_cast<uint32_t>((high - depth[i]) * scale);  // the farthest first
            ++start[bucket[i] + 1];
        }
        for (size_t k = 0; k < kBuckets; ++k) start[k + 1] += start[k];
        for (uint32_t i = 0; i < points.size(); ++i) order[start[bucket[i]]++] = i;
    }
    upload_indices(discs, order);
}

// Of the points of a draft that would be drawn on the same two by two pixels, the one in front (in 2D: the last): it
// covers the others. Those out of sight are left out too.
void PointCloud::Impl::choose_points(const CloudCamera& camera, const Matrix& matrix) {
    flat_order = SIZE_MAX;
    const int columns = (width + 1) / 2, rows = (height + 1) / 2;
    std::vector<uint32_t> front(static_cast<size_t>(columns) * static_cast<size_t>(rows), UINT32_MAX);
    std::vector<float> depth(camera.flat ? 0 : front.size());
    const auto half_width = 0.25f * static_cast<float>(width), half_height = 0.25f * static_cast<float>(height);
    for (uint32_t i = 0; i < points.size(); ++i) {
        const Vec3& p = points[i].at;
        const float w = clip_w(matrix, p);
        if (w <= 0) continue;
        const float x = (matrix[0] * p[0] + matrix[4] * p[1] + matrix[8] * p[2] + matrix[12]) / w;
        const float y = (matrix[1] * p[0] + matrix[5] * p[1] + matrix[9] * p[2] + matrix[13]) / w;
        if (!(std::fabs(x) < 1 && std::fabs(y) < 1)) continue;
        const int column = std::min(columns - 1, static_cast<int>((x + 1) * half_width));
        const int row = std::min(rows - 1, static_cast<int>((y + 1) * half_height));
        const auto cell = static_cast<size_t>(row) * static_cast<size_t>(columns) + static_cast<size_t>(column);
        if (!camera.flat && front[cell] != UINT32_MAX && depth[cell] < w) continue;
        front[cell] = i;
        if (!camera.flat) depth[cell] = w;
    }
    std::erase(front, UINT32_MAX);
    upload_indices(discs, front);
}

void PointCloud::Impl::draw_batch(const Batch& batch, GLenum mode) const {
    if (batch.count == 0) return;
    gl.BindVertexArray(batch.array);
    gl.DrawElements(mode, batch.count, GL_UNSIGNED_INT, nullptr);
}

void PointCloud::Impl::draw(const CloudCamera& camera, ImU32 background, float scale) {
    const Matrix matrix = camera.matrix(static_cast<float>(width) / static_cast<float>(height));
    const ImVec2 depth = depth_range(camera, matrix);
    const ImVec4 back = ImGui::ColorConvertU32ToFloat4(background);
    draft ? choose_points(camera, matrix) : sort_points(camera, matrix);
    gl.BindFramebuffer(GL_FRAMEBUFFER, target);
    gl.Viewport(0, 0, width, height);
    for (const GLenum off : {GL_DEPTH_TEST, GL_CULL_FACE, GL_SCISSOR_TEST}) gl.Disable(off);
    gl.Enable(GL_PROGRAM_POINT_SIZE);
    gl.Enable(GL_BLEND);
    gl.BlendEquation(GL_FUNC_ADD);
    gl.BlendFuncSeparate(GL_SRC_ALPHA, GL_ONE_MINUS_SRC_ALPHA, GL_ONE, GL_ONE_MINUS_SRC_ALPHA);
    gl.ClearColor(back.x, back.y, back.z, 1);
    gl.Clear(GL_COLOR_BUFFER_BIT);
    const auto use = [&](GLuint program) {
        const auto at = [&](const char* name) { return gl.GetUniformLocation(program, name); };
        gl.UseProgram(program);
        gl.UniformMatrix4fv(at("matrix"), 1, GL_FALSE, matrix.data());
        gl.Uniform1f(at("scale"), scale);
        gl.Uniform2f(at("viewport"), static_cast<float>(width), static_cast<float>(height));
        gl.Uniform2f(at("depth_range"), depth.x, depth.y);
        gl.Uniform3f(at("background"), back.x, back.y, back.z);
    };
    use(paths.program);
    draw_batch(grid, GL_TRIANGLES);
    draw_batch(paths, GL_TRIANGLES);
    if (heads.count > 0) use(heads.program), draw_batch(heads, GL_TRIANGLES);
    use(draft ? squares : discs.program);
    gl.Uniform1f(gl.GetUniformLocation(draft ? squares : discs.program, "draft"), draft ? 1.0f : 0.0f);
    if (draft) gl.Disable(GL_BLEND);
    draw_batch(discs, GL_POINTS);
    ++renders;
}

PointCloud::PointCloud() : impl_(std::make_unique<Impl>()) {}

PointCloud::~PointCloud() {
    auto& gl = impl_->gl;
    if (!impl_->ready || glfwGetCurrentContext() == nullptr) return;  // the context took everything with it
    for (auto* batch : {&impl_->discs, &impl_->paths, &impl_->heads, &impl_->grid}) {
        gl.DeleteVertexArrays(1, &batch->array);
        gl.DeleteBuffers(1, &batch->vertices);
        gl.DeleteBuffers(1, &batch->indices);
    }
    for (const GLuint program : {impl_->discs.program, impl_->paths.program, impl_->heads.program, impl_->squares})
        gl.DeleteProgram(program);
    if (impl_->texture != 0) gl.DeleteTextures(1, &impl_->texture), gl.DeleteFramebuffers(1, &impl_->target);
}

void PointCloud::set(std::vector<CloudPoint> points, std::vector<CloudLine> lines) {
    impl_->points = std::move(points), impl_->lines = std::move(lines), impl_->stale_data = true;
}

void PointCloud::set_frame(std::vector<CloudLine> lines) {
    if (lines == impl_->frame) return;
    impl_->frame = std::move(lines), impl_->stale_frame = true;
}

ImTextureID PointCloud::render(const CloudCamera& camera, int width, int height, ImU32 background, float scale) {
    Impl& my = *impl_;
    if (width < 1 || height < 1 || (my.tried && !my.ready) || glfwGetCurrentContext() == nullptr)
        return ImTextureID_Invalid;
    const bool same = camera == my.shown && background == my.shown_background && scale == my.shown_scale &&
                      width == my.width && height == my.height;
    const auto now = std::chrono::steady_clock::now();
    if (my.ready && !(camera == my.shown)) my.moved = now;
    const bool moving = my.points.size() > kMany && now - my.moved < kSettled;
    if (my.ready && same && !my.stale_data && !my.stale_frame && (!my.draft || moving)) return my.texture;
    my.draft = moving;
    if (!my.tried && !my.gl.load()) {
        my.tried = true, my.error = "this OpenGL context lacks functions of version 3.3";
        return ImTextureID_Invalid;
    }
    const GlStateGuard guard(my.gl);
    if (!my.prepare() || !my.resize(width, height)) return ImTextureID_Invalid;
    if (my.stale_data) my.upload_points(), my.upload_lines(my.paths, my.lines), my.upload_heads();
    if (my.stale_frame) my.upload_lines(my.grid, my.frame);
    my.draw(camera, background, scale);
    my.shown = camera, my.shown_background = background, my.shown_scale = scale;
    my.stale_data = my.stale_frame = false;
    return my.texture;
}

bool PointCloud::draft() const { return impl_->draft; }
const std::string& PointCloud::error() const { return impl_->error; }
int PointCloud::renders() const { return impl_->renders; }

}  // namespace savepoint::views
