#pragma once

#include <string>

namespace savepoint {

struct Desk;

// The contents of the files that Export writes. Tables are CSV with a header line (RFC 4180, no number
// where nothing is known). Throw InputError, with the way out, when there is nothing to write yet.
std::string transcript_csv(Desk& desk);
std::string anomaly_csv(Desk& desk);
std::string trajectory_csv(Desk& desk);
std::string reconstruction_csv(Desk& desk);
std::string codecs_csv(Desk& desk);
std::string projection_csv(Desk& desk);
std::string drift_csv(Desk& desk);
std::string patch_csv(Desk& desk);
std::string lens_csv(Desk& desk);
std::string attention_csv(Desk& desk);
std::string attention_mass_csv(Desk& desk);
std::string diagnosis_csv(Desk& desk);
std::string phi_csv(Desk& desk);
std::string experiment_csv(Desk& desk);
std::string injection_csv(Desk& desk);  // score by token of an experiment that injects something
std::string experiment_html(Desk& desk);
std::string experiment_json(Desk& desk);
std::string preview_csv(Desk& desk);
std::string graph_json(Desk& desk);
std::string latents_safetensors(Desk& desk);  // hidden, key, value, token_ids; metadata names the sidecar
std::string z_safetensors(Desk& desk);        // of a thought that is kept as z (core/sidecar/latent_file.h)

}  // namespace savepoint
