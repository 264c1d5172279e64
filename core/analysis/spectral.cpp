#include "core/analysis/spectral.h"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/analysis/map_kernels.h"
#include "core/model/parallel.h"

namespace savepoint {

namespace {

using Small = Eigen::Matrix<double, map_block, map_block>;
using Block = std::vector<float>;  // [rows, map_block]

constexpr int kRounds = 20;
constexpr double kResidual = 1e-4;
constexpr double kGain = 1e4;  // by which one filter favours the first vector over the last: float32 bears no more
constexpr int kLeastDegree = 4, kMostDegree = 60;
constexpr int64_t kDense = 128;   // rows up to which all eigenvectors are computed: a block needs room to differ
constexpr int64_t kChunk = 4096;  // rows of a task

// D^-1/2 W D^-1/2 and the eigenvector that it surely has, D^1/2 1 with eigenvalue 1.
struct Operator {
    const SparseGraph& graph;
    std::vector<float> value, first;

    explicit Operator(const SparseGraph& given) : graph(given), value(given.weight), first(given.rows()) {
        std::vector<double> root(first.size(), 0.0);
        double total = 0;
        for (int64_t i = 0; i < graph.rows(); ++i) {
            for (int64_t e = graph.row_begin[i]; e < graph.row_begin[i + 1]; ++e) root[i] += graph.weight[e];
            total += root[i];
            root[i] = std::sqrt(root[i]);
        }
        for (int64_t i = 0; i < graph.rows(); ++i) {
            first[i] = static_cast<float>(root[i] / std::sqrt(total));
            for (int64_t e = graph.row_begin[i]; e < graph.row_begin[i + 1]; ++e)
                value[e] = static_cast<float>(value[e] / (root[i] * root[graph.column[e]]));
        }
    }
    // y = scale (A x - shift x) - minus
    void apply(float scale, float shift, const Block& x, const Block* minus, Block& y) const {
        parallel_tasks((graph.rows() + kChunk - 1) / kChunk, [&](int64_t task) {
            map_kernels().apply_sparse(graph.row_begin.data(), graph.column.data(), value.data(), task * kChunk,
                                       std::min(graph.rows(), (task + 1) * kChunk), scale, shift, x.data(),
                                       minus ? minus->data() : nullptr, y.data());
        });
    }
};

Small products(const Block& x, const Block& y) {
    Small total = Small::Zero();
    for (size_t at = 0; at < x.size(); at += map_block) {
        const Eigen::Map<const Eigen::Matrix<float, map_block, 1>> left(x.data() + at), right(y.data() + at);
        total += left.cast<double>() * right.cast<double>().transpose();
    }
    return total;
}

void multiply(Block& x, const Small& by) {
    const Eigen::Matrix<float, map_block, map_block> factor = by.cast<float>();
    for (size_t at = 0; at < x.size(); at += map_block) {
        Eigen::Map<Eigen::Matrix<float, 1, map_block>> row(x.data() + at);
        row = (row * factor).eval();
    }
}

void remove_first(const Operator& a, Block& x) {
    Eigen::Matrix<double, 1, map_block> overlap = Eigen::Matrix<double, 1, map_block>::Zero();
    for (size_t i = 0; i < a.first.size(); ++i)
        for (int64_t j = 0; j < map_block; ++j) overlap[j] += static_cast<double>(a.first[i]) * x[i * map_block + j];
    for (size_t i = 0; i < a.first.size(); ++i)
        for (int64_t j = 0; j < map_block; ++j) x[i * map_block + j] -= static_cast<float>(overlap[j] * a.first[i]);
}

// x times the inverse of its Cholesky factor, from columns of length 1.
void orthonormalise(Block& x) {
    Small gram = products(x, x);
    const Eigen::Matrix<double, map_block, 1> length =
        gram.diagonal().cwiseMax(std::numeric_limits<double>::min()).cwiseSqrt();
    const Small scale = length.cwiseInverse().asDiagonal();
    gram = scale * gram * scale + 1e-10 * Small::Identity();
    const Small factor = gram.llt().matrixU();
    multiply(x, scale * factor.inverse());
}

// Ritz vectors, strongest first, in x; their images in ax; the values.
Eigen::Matrix<double, map_block, 1> rotate_to_ritz(const Operator& a, Block& x, Block& ax) {
    a.apply(1, 0, x, nullptr, ax);
    const Small projected = products(x, ax);
    const Eigen::SelfAdjointEigenSolver<Small> solved((projected + projected.transpose()) / 2);
    const Small vectors = solved.eigenvectors().rowwise().reverse();
    multiply(x, vectors);
    multiply(ax, vectors);
    return solved.eigenvalues().reverse();
}

double residual(const Block& x, const Block& ax, double value, int64_t column) {
    double sum = 0;
    for (size_t at = column; at < x.size(); at += map_block) {
        const double r = ax[at] - value * x[at];
        sum += r * r;
    }
    return std::sqrt(sum);
}

// x becomes T_degree of A mapped so that -1 .. cut lies in -1 .. 1: what is above the cut grows.
void filter(const Operator& a, double cut, double strongest, Block& x, Block& previous, Block& next) {
    const double centre = (cut - 1) / 2, half = (cut + 1) / 2;
    const double reach = std::acosh(std::max((strongest - centre) / half, 1 + 1e-9));
    const int degree = static_cast<int>(std::clamp(std::acosh(kGain) / reach, 1.0 * kLeastDegree, 1.0 * kMostDegree));
    const auto scale = static_cast<float>(1 / half), shift = static_cast<float>(centre);
    std::swap(previous, x);
    a.apply(scale, shift, previous, nullptr, x);
    for (int i = 1; i < degree; ++i) {
        a.apply(2 * scale, shift, x, &previous, next);
        std::swap(previous, x);
        std::swap(x, next);
    }
}

Block random_block(int64_t rows, uint64_t seed) {
    std::mt19937_64 draws(seed);
    Block block(static_cast<size_t>(rows * map_block));
    for (float& x : block) x = static_cast<float>(static_cast<double>(draws() >> 11) * 0x1p-53 - 0.5);
    return block;
}

std::vector<float> dense_embedding(const Operator& a, int64_t count) {
    const int64_t rows = a.graph.rows();
    Eigen::MatrixXd matrix = Eigen::MatrixXd::Zero(rows, rows);
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t e = a.graph.row_begin[i]; e < a.graph.row_begin[i + 1]; ++e)
            matrix(i, a.graph.column[e]) = a.value[e];
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solved(matrix);
    std::vector<float> result(static_cast<size_t>(rows * count));
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < count; ++j)
            result[i * count + j] = static_cast<float>(solved.eigenvectors()(i, rows - 2 - j));
    return result;
}

}  // namespace

std::vector<float> spectral_embedding(const SparseGraph& graph, int64_t count, uint64_t seed) {
    const Operator a(graph);
    if (graph.rows() <= kDense) return dense_embedding(a, count);
    Block x = random_block(graph.rows(), seed), ax(x.size()), spare(x.size());
    double cut = 0.5, strongest = 1;
    for (int round = 0; round < kRounds; ++round) {
        filter(a, cut, strongest, x, ax, spare);
        remove_first(a, x);
        orthonormalise(x);
        const auto values = rotate_to_ritz(a, x, ax);
        double worst = 0;
        for (int64_t j = 0; j < count; ++j) worst = std::max(worst, residual(x, ax, values[j], j));
        if (worst < kResidual) break;
        cut = std::clamp(values[map_block - 1], 0.0, 1 - 1e-6);
        strongest = std::clamp(values[0], cut, 1.0);
    }
    std::vector<float> result(static_cast<size_t>(graph.rows() * count));
    for (int64_t i = 0; i < graph.rows(); ++i)
        for (int64_t j = 0; j < count; ++j) result[i * count + j] = x[i * map_block + j];
    return result;
}

}  // namespace savepoint
