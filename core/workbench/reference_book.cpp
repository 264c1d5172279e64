#include "core/workbench/reference_book.h"

#include "core/analysis/choice_fit.h"
#include "core/model/error.h"
#include "core/workbench/desk.h"

namespace savepoint {

std::shared_ptr<const AnomalyReference> ReferenceBook::find(const Desk& desk, const AnomalyChoice& choice) const {
    if (auto fitted = reference_of(desk.fit, choice)) return fitted;
    const auto found = others_.find(to_string(choice));
    return found == others_.end() ? nullptr : found->second;
}

std::shared_ptr<const AnomalyReference> ReferenceBook::active(const Desk& desk) const { return find(desk, choice_); }

void ReferenceBook::read_stored(Desk& desk, const AnomalyChoice& choice) {
    if (!desk.fit.sidecar || find(desk, choice)) return;
    try {
        auto stored =
            load_reference(desk.fit_folder, choice, desk.need_model().weights->sha256(), desk.fit.sidecar->hash());
        if (stored) others_[stored->name()] = std::move(stored);
    } catch (const Error& problem) {
        desk.notices.warn(std::string("the stored reference cannot be used: ") + problem.what());
    }
}

void ReferenceBook::settle(Desk& desk) {
    read_stored(desk, wanted_);
    if (find(desk, wanted_)) choice_ = wanted_;
    desk.publisher.set_reference(view(desk));
    desk.publisher.touch();
}

void ReferenceBook::want(Desk& desk, const AnomalyChoice& choice) {
    if (needs_other(choice.detector))
        throw InputError("anomaly scores: " + to_string(choice.detector) +
                         " compares with a second set of texts; it is for experiments");
    if (choice.phi.kind != PhiKind::hedgehog && desk.model) Phi(choice.phi, desk.transformer().config().head_dim);
    wanted_ = choice;
    settle(desk);
    desk.analyses.choice_changed(desk);
}

void ReferenceBook::adopt(Desk& desk, std::shared_ptr<const AnomalyReference> reference) {
    others_[reference->name()] = std::move(reference);
    settle(desk);
    desk.analyses.choice_changed(desk);
}

void ReferenceBook::sidecar_changed(Desk& desk) {
    others_.clear();
    choice_ = {};
    settle(desk);
}

ReferenceView ReferenceBook::view(const Desk& desk) const {
    ReferenceView view;
    view.choice = wanted_;
    if (const auto reference = find(desk, wanted_)) {
        view.state = ReferenceView::State::ready;
        view.progress = 1;
        view.fitted_tokens = reference->fitted_tokens();
        view.calibration_tokens = reference->calibration_tokens();
    }
    return view;
}

}  // namespace savepoint
