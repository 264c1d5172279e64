#pragma once

// Plain types only: views include this file.

#include <string>
#include <vector>

namespace savepoint {

// What is read of a state (S_t, n_t):
//   read_out         phi(q_t) S_t / phi(q_t) n_t of each query head: what linear attention would output. Signed phi:
//                    phi(q_t) S_t / t                                              [heads, head_dim]
//   mean_query       the same for the mean of each head's queries so far          [heads, head_dim]
//   rows             S_t / n_t row by row: the mean value each feature remembers  [kv_heads, features x head_dim]
//   mean             S_t / t, t the weight summed                                  [kv_heads, features x head_dim]
//   singular_values  of S_t / t, descending                                        [kv_heads, min(features, head_dim)]
//   singular_vectors u_1 and v_1 of S_t / t, signed so that v_1's largest entry is positive
//                                                                                  [kv_heads, features + head_dim]
// Of exponential phi, S_t stands for S_t / exp(running maximum of the head) in the last three.
enum class StateForm { read_out, mean_query, rows, mean, singular_values, singular_vectors };
std::string to_string(StateForm form);
StateForm form_from(const std::string& name);  // throws InputError that lists the names
const std::vector<StateForm>& all_forms();
// Of query heads; the other forms are of KV heads.
inline bool is_read_out(StateForm form) { return form == StateForm::read_out || form == StateForm::mean_query; }
inline bool is_matrix(StateForm form) { return form == StateForm::rows || form == StateForm::mean; }

}  // namespace savepoint
