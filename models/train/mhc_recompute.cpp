#include "models/train/mhc_recompute.h"

#include <ATen/core/ivalue.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "models/train/saved_bytes.h"

namespace models {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

namespace {

// TransformerEngine's linears that norm their input keep the norm's weight under this name.
constexpr std::string_view kInsideLinear = ".layer_norm_weight";

// Lets `storage` show the bytes of `other`, which it shares.
void share(const c10::Storage& storage, const c10::Storage& other) {
  auto owner = std::make_unique<c10::Storage>(other);
  void* const bytes = owner->mutable_data();
  at::DataPtr data(
      bytes, owner.release(), [](void* held) { delete static_cast<c10::Storage*>(held); },
      other.device());
  storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(data));
  storage.unsafeGetStorageImpl()->set_nbytes(other.nbytes());
}

}  // namespace

// A result in the graph of the pass. It does not hold the result, which holds it by its graph, but
// only the memory object.
class DroppedResult : public torch::CustomClassHolder {
 public:
  explicit DroppedResult(LayerParts::Function function) : function_(std::move(function)) {}

  // context: of the node of this result; it saved the inputs and outlives every call that uses
  // them, as the hook that computes again hangs on a node behind it.
  at::Tensor first(const AutogradContext* context, at::TensorList inputs) {
    context_ = context;
    at::Tensor result = function_(inputs.vec());
    storage_ = result.storage();
    return result;
  }

  // Gives the bytes of the result back to the allocator; returns how many.
  int64_t drop() {
    c10::StorageImpl* const storage = storage_.unsafeGetStorageImpl();
    const auto bytes = static_cast<int64_t>(storage->nbytes());
    storage->set_data_ptr_noswap(at::DataPtr(nullptr, storage->device()));
    storage->set_nbytes(size_t{0});
    is_dropped_ = true;
    return bytes;
  }

  void compute_again() {
    if (again_.defined()) return;
    const c10::AutoGradMode records(true);
    for (const at::Tensor& input : context_->get_saved_variables()) {
      inputs_.push_back(input.detach().set_requires_grad(input.requires_grad()));
    }
    again_ = function_(inputs_);
    if (is_dropped_) share(storage_, again_.storage());
    is_dropped_ = false;
  }

  // Of the inputs, in order; undefined where none is needed.
  variable_list gradients(const at::Tensor& of_result) {
    compute_again();
    variable_list wanted;
    for (const at::Tensor& input : inputs_) {
      if (input.requires_grad()) wanted.push_back(input);
    }
    const variable_list found = torch::autograd::grad({again_}, wanted, {of_result});
    variable_list all;
    size_t next = 0;
    for (const at::Tensor& input : inputs_) {
      all.push_back(input.requires_grad() ? found.at(next++) : at::Tensor());
    }
    inputs_.clear();
    again_.reset();
    return all;
  }

 private:
  LayerParts::Function function_;
  const AutogradContext* context_ = nullptr;
  c10::Storage storage_;
  bool is_dropped_ = false;
  LayerParts::Inputs inputs_;  // of the second computation, cut off from the graph of the pass
  at::Tensor again_;
};

namespace {

class Droppable : public torch::autograd::Function<Droppable> {
 public:
  static at::Tensor forward(AutogradContext* context,
                            const c10::intrusive_ptr<DroppedResult>& result,
                            at::TensorList inputs) {
    context->save_for_backward(inputs.vec());
    context->saved_data["result"] = c10::IValue::make_capsule(result);
    return result->first(context, inputs);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto result = c10::static_intrusive_pointer_cast<DroppedResult>(
        context->saved_data["result"].toCapsule());
    variable_list of_inputs = result->gradients(gradients.at(0));
    of_inputs.insert(of_inputs.begin(), at::Tensor());  // the result object has none
    return of_inputs;
  }
};

}  // namespace

std::vector<bool> mhc_block_ends(int64_t layers, int64_t block) {
  std::vector<bool> ends;
  for (int64_t layer = 1; layer <= layers; ++layer) {
    ends.push_back(layer % block == 0 || layer == layers);
  }
  return ends;
}

MhcRecompute::MhcRecompute(Weights& weights, int64_t block)
    : weights_(weights), ends_(mhc_block_ends(std::ssize(weights.config().layers), block)) {}

MhcRecompute::~MhcRecompute() = default;

bool MhcRecompute::keeps(int64_t layer, LayerPart part) const {
  switch (part) {
    case LayerPart::kMlpMerge:
      return ends_.at(static_cast<size_t>(layer));
    case LayerPart::kAttentionNorm:
      return weights_.source({Role::kAttentionNorm, Section::kLayer, layer})
          .ends_with(kInsideLinear);
    case LayerPart::kMlpNorm:
      return weights_.source({Role::kMlpNorm, Section::kLayer, layer}).ends_with(kInsideLinear);
    default:
      return false;
  }
}

at::Tensor MhcRecompute::run(int64_t layer, LayerPart part, const Function& function,
                             const Inputs& inputs) {
  const bool has_gradient = std::any_of(
      inputs.begin(), inputs.end(), [](const at::Tensor& input) { return input.requires_grad(); });
  if (!has_gradient || keeps(layer, part)) return function(inputs);
  block_.push_back(c10::make_intrusive<DroppedResult>(function));
  return Droppable::apply(block_.back(), at::TensorList(inputs));
}

void MhcRecompute::end(int64_t layer, const at::Tensor& streams) {
  if (!ends_.at(static_cast<size_t>(layer))) return;
  for (const auto& result : block_) dropped_bytes_ += result->drop();
  SavedBytes::measure_again();
  streams.register_hook([block = std::exchange(block_, {})](const at::TensorBase&) {
    for (const auto& result : block) result->compute_again();
    SavedBytes::measure_again();
  });
}

}  // namespace models
