#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/workbench/projection_settings.h"
#include "views/frame.h"

namespace savepoint::views {

// The widgets that say what is projected and how; they edit `settings` and nothing else.
class ProjectionForm {
   public:
    // One row, which wraps in a narrow panel.
    void draw(Frame& frame, ProjectionSettings& settings);
    // Taken from a panel that has been given a file.
    void choose_file(const std::string& path) { chosen_file_ = path; }

   private:
    void draw_source(Frame& frame, ProjectionSettings& settings);
    void draw_parts(const Snapshot& snapshot, ProjectionSettings& settings);
    void draw_scope(const Snapshot& snapshot, ProjectionSettings& settings);
    void draw_more(ProjectionSettings& settings);
    void draw_umap(ProjectionSettings& settings);
    void draw_points(ProjectionSettings& settings);
    void draw_clusters(ProjectionSettings& settings);
    void ask_for_file(Frame& frame);

    std::string chosen_file_;  // since the last frame
};

// "latents", "hidden states", or the file's name.
std::string source_name(const ProjectionSettings& settings);
// Layers that the settings can name: their labels, in order.
std::vector<std::string> part_names(const Snapshot& snapshot, ProjectionSource source);
const char* metric_name(PointMetric metric);

}  // namespace savepoint::views
