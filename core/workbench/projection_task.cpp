#include "core/workbench/projection_task.h"

#include <algorithm>

#include "core/analysis/points_file.h"
#include "core/model/error.h"
#include "core/workbench/desk.h"

namespace savepoint {
namespace {

constexpr int64_t kPiece = 128;  // tokens gathered in a step
constexpr auto kPicture = std::chrono::milliseconds(80);

// Rows of a file as points: their labels are their text.
ProjectionRun::Input input_of(const ProjectionSettings& settings, ProjectionPoints& points) {
    PointsFile file = read_points(settings.file);
    points.asked = file.points.rows;
    points.label_names = file.label_names;
    for (int64_t i = 0; i < file.points.rows; ++i) {
        ProjectionPoint point;
        point.position = i;
        if (!file.labels.empty())
            for (const std::string& label : file.labels[static_cast<size_t>(i)])
                point.text += (point.text.empty() ? "" : ", ") + label;
        points.points.push_back(std::move(point));
    }
    points.labels = std::move(file.labels);
    const int64_t columns = file.points.columns;
    return {"points of the file", {{"column", columns}}, std::move(file.points)};
}

}  // namespace

// -- the thread ---------------------------------------------------------------------------------------------------

ProjectionRun::ProjectionRun(std::function<std::vector<Input>()> inputs, ProjectionSettings settings,
                             std::function<void()> wake)
    : inputs_(std::move(inputs)), settings_(std::move(settings)), wake_(std::move(wake)) {
    thread_ = std::jthread([this](const std::stop_token& stopped) { run(stopped); });
}

void ProjectionRun::permit() {
    {
        const std::scoped_lock lock(mutex_);
        may_step_ = true;
    }
    permitted_.notify_all();
}

bool ProjectionRun::finished() const {
    const std::scoped_lock lock(mutex_);
    return finished_;
}

std::vector<ProjectionMap> ProjectionRun::maps() const {
    const std::scoped_lock lock(mutex_);
    return maps_;
}

double ProjectionRun::progress() const {
    const std::scoped_lock lock(mutex_);
    return progress_;
}

std::string ProjectionRun::stage() const {
    const std::scoped_lock lock(mutex_);
    return stage_;
}

void ProjectionRun::end() {
    if (!thread_.joinable()) return;
    thread_.request_stop();
    permitted_.notify_all();
    thread_.join();
}

std::vector<std::unique_ptr<MapFit>> ProjectionRun::take() {
    const bool whole = finished();
    end();
    if (whole && failure_) std::rethrow_exception(failure_);
    std::erase_if(fits_, [](const auto& fit) { return !fit->has_places(); });
    return std::move(fits_);
}

void ProjectionRun::run(const std::stop_token& stopped) {
    const auto go_on = [&] { return !stopped.stop_requested(); };
    bool more = true;
    while (more) {
        {
            std::unique_lock lock(mutex_);
            if (!permitted_.wait(lock, stopped, [&] { return may_step_; })) return;
            may_step_ = false;
        }
        try {
            more = step(go_on);
            look(!more);
        } catch (...) {
            if (!go_on()) return;
            const std::scoped_lock lock(mutex_);
            failure_ = std::current_exception();
            more = false;
        }
        if (!more) {
            const std::scoped_lock lock(mutex_);
            finished_ = true;
        }
        wake_();
    }
}

// Whether there is more to do.
bool ProjectionRun::step(const std::function<bool()>& go_on) {
    if (!read_) {
        waiting_ = inputs_();
        std::reverse(waiting_.begin(), waiting_.end());
        read_ = true;
        return true;
    }
    if (!fits_.empty() && fits_.back()->progress() < 1) {
        fits_.back()->step(go_on);
    } else if (!waiting_.empty()) {
        Input next = std::move(waiting_.back());
        waiting_.pop_back();
        fits_.push_back(std::make_unique<MapFit>(next.label, std::move(next.table), std::move(next.parts), settings_));
    }
    return !waiting_.empty() || fits_.back()->progress() < 1;
}

void ProjectionRun::look(bool always) {
    const auto now = std::chrono::steady_clock::now();
    if (!always && now - looked_ < kPicture) return;
    looked_ = now;
    std::vector<ProjectionMap> maps;
    double sum = 0;
    for (const auto& fit : fits_) maps.push_back(fit->view()), sum += fit->progress();
    const auto count = static_cast<double>(fits_.size() + waiting_.size());
    const std::scoped_lock lock(mutex_);
    progress_ = count > 0 ? sum / count : 0;
    if (!maps.empty()) {
        stage_ = maps.back().stage;
        if (count > 1 && !stage_.empty()) stage_ = maps.back().label + ": " + stage_;
    }
    maps_ = std::move(maps);
}

// -- the task -----------------------------------------------------------------------------------------------------

ProjectionTask::ProjectionTask(Desk& desk, ProjectionSettings settings)
    : Task(TaskKind::project, settings.method == ProjectionMethod::pca ? "Projecting by PCA" : "Projecting by UMAP"),
      desk_(desk),
      settings_(std::move(settings)) {
    if (settings_.source == ProjectionSource::file) {
        if (settings_.file.empty()) throw InputError("projection: choose a file of points first (.csv or .npy)");
        start_run();
    } else {
        plans_ = map_plans(desk_, settings_);
        spans_ = spans_in_scope(desk_, settings_);
        tables_.resize(plans_.size());
        for (const PathSpan& span : spans_) points_->asked += span.count * plans_.front().per_token();
        if (points_->asked == 0) throw InputError("projection: there are no tokens yet; generate from a prompt first");
        if (!settings_.first_tokens)
            points_->left_out = "the first tokens of each path, which are attention sinks far from all others";
    }
    publish(ProjectionState::running);
}

bool ProjectionTask::gather() {
    if (span_ == spans_.size()) return false;
    const PathSpan& span = spans_[span_];
    if (next_ == 0) next_ = first_in_map(desk_, settings_, span);
    const int64_t count = std::min(kPiece, span.count - next_);
    if (count > 0) {
        for (size_t m = 0; m < plans_.size(); ++m)
            gather_rows(desk_, settings_, plans_[m], span.thought, next_, count, tables_[m]);
        gather_points(desk_, plans_.front(), span.thought, next_, count, points_->points);
        next_ += count;
    }
    if (next_ >= span.count) {
        considered_[span.thought] = span.count;
        ++span_, next_ = 0;
    }
    return true;
}

void ProjectionTask::start_run() {
    auto inputs = std::make_shared<std::vector<ProjectionRun::Input>>();
    for (size_t m = 0; m < plans_.size(); ++m)
        inputs->push_back({plans_[m].label, plans_[m].columns, std::move(tables_[m])});
    const auto read = [inputs, points = points_, settings = settings_] {
        if (settings.source == ProjectionSource::file) inputs->push_back(input_of(settings, *points));
        return std::move(*inputs);
    };
    run_ = std::make_unique<ProjectionRun>(read, settings_, desk_.wake);
    run_->permit();
}

Step ProjectionTask::step() {
    if (!run_) {
        if (gather()) return Step::again;
        start_run();
        return Step::waiting;
    }
    if (run_->finished()) {
        finish(ProjectionState::done);
        return Step::done;
    }
    publish(ProjectionState::running);
    run_->permit();
    return Step::waiting;
}

void ProjectionTask::finish(ProjectionState state) {
    ProjectionBook::Made made;
    made.maps = run_->take();
    made.settings = settings_;
    made.plans.assign(plans_.begin(),
                      plans_.begin() + static_cast<ptrdiff_t>(std::min(plans_.size(), made.maps.size())));
    made.points = points_;
    made.considered = considered_;
    made.state = state;
    made.seconds = seconds();
    desk_.projection.adopt(desk_, std::move(made));
}

void ProjectionTask::stop() {
    if (run_) return finish(ProjectionState::cancelled);
    publish(ProjectionState::cancelled);
}

void ProjectionTask::failed(const std::string& message) { publish(ProjectionState::failed, message); }

double ProjectionTask::progress() const { return run_ ? run_->progress() : 0; }

std::string ProjectionTask::stage() const { return run_ ? run_->stage() : "gathering states"; }

double ProjectionTask::seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
}

void ProjectionTask::publish(ProjectionState state, const std::string& error) {
    static const auto kNone = std::make_shared<const ProjectionPoints>();
    auto view = std::make_shared<ProjectionView>();
    view->state = state;
    view->progress = progress();
    view->seconds = seconds();
    view->stage = stage();
    view->error = error;
    view->settings = settings_;
    if (run_ && state == ProjectionState::running) view->maps = run_->maps();
    view->points = view->maps.empty() ? kNone : points_;  // a file is being read until there is a map
    desk_.publisher.set_projection(std::move(view));
}

}  // namespace savepoint
