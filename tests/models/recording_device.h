// A device with streams and events that records what it is asked for, in the memory of the host:
// LibTorch's PrivateUse1, which is there for backends of others. It is as late as a GPU may be:
// what a stream is given to do is done when somebody waits for it. So a buffer that is filled again
// too early, or a result that nobody waits for, shows in the values.
//
// Registered by the first test that asks for it. It counts as no device (deviceCount() is 0), so
// that autograd makes no thread for it.
// Truth: c10/core/impl/DeviceGuardImplInterface.h; ATen/detail/PrivateUse1HooksInterface.h;
// PyTorch's "Facilitating New Backend Integration by PrivateUse1".
#pragma once

#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <gtest/gtest.h>
#include <torch/library.h>

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace models {

class RecordingDevice {
 public:
  static constexpr c10::DeviceType kType = c10::DeviceType::PrivateUse1;
  static constexpr c10::StreamId kComputing = 0;  // the current one; others come from the pool

  // The only one, without records and work of earlier tests.
  static RecordingDevice& fresh() {
    static RecordingDevice* const device = make();
    for (auto& [stream, queue] : device->queues_) {
      queue.done += queue.waiting.size();
      queue.waiting.clear();
    }
    device->log.clear();
    device->copies = 0;
    return *device;
  }
  static at::Device device() { return {kType, 0}; }

  // What was asked for, in order, with the stream ("computing", "copying") that it was asked of.
  std::vector<std::string> log;
  int copies = 0;

  // Does all that a stream was given, and what that waits for.
  void finish(c10::StreamId stream) { finish(stream, begun(stream)); }

 private:
  struct Event {
    c10::StreamId stream;
    size_t work;  // how much the stream has to have done
  };
  struct Queue {
    size_t done = 0;
    std::deque<std::function<void()>> waiting;
  };

  size_t begun(c10::StreamId stream) {
    return queues_[stream].done + queues_[stream].waiting.size();
  }
  void finish(c10::StreamId stream, size_t work) {
    while (queues_[stream].done < work) {
      const std::function<void()> next = std::move(queues_[stream].waiting.front());
      queues_[stream].waiting.pop_front();
      ++queues_[stream].done;
      next();
    }
  }
  void note(const std::string& what, c10::StreamId stream) {
    log.push_back(what + (stream == kComputing ? " computing" : " copying"));
  }

  struct Guard : c10::impl::DeviceGuardImplInterface {
    explicit Guard(RecordingDevice& recorder) : recorder_(&recorder) {}

    c10::DeviceType type() const override { return kType; }
    c10::Device exchangeDevice(c10::Device) const override { return device(); }
    c10::Device getDevice() const override { return device(); }
    void setDevice(c10::Device) const override {}
    void uncheckedSetDevice(c10::Device) const noexcept override {}
    c10::DeviceIndex deviceCount() const noexcept override { return 0; }
    c10::Stream getStream(c10::Device) const override { return stream(recorder_->current_); }
    c10::Stream exchangeStream(c10::Stream next) const override {
      return stream(std::exchange(recorder_->current_, next.id()));
    }
    c10::Stream getStreamFromGlobalPool(c10::Device, bool) const override { return stream(1); }

    void record(void** event, const c10::Stream& on, c10::DeviceIndex,
                c10::EventFlag) const override {
      if (*event == nullptr) *event = new Event();
      *static_cast<Event*>(*event) = {on.id(), recorder_->begun(on.id())};
      recorder_->note("event of", on.id());
    }
    void block(void* event, const c10::Stream& waits) const override {
      const Event behind = *static_cast<Event*>(event);
      recorder_->queues_[waits.id()].waiting.emplace_back(
          [recorder = recorder_, behind] { recorder->finish(behind.stream, behind.work); });
      recorder_->note("device waits:", waits.id());
    }
    void synchronizeEvent(void* event) const override {
      const Event behind = *static_cast<Event*>(event);
      recorder_->finish(behind.stream, behind.work);
      recorder_->note("host waits for", behind.stream);
    }
    bool queryEvent(void* event) const override {
      const Event behind = *static_cast<Event*>(event);
      return recorder_->queues_[behind.stream].done >= behind.work;
    }
    void synchronizeStream(const c10::Stream& stream) const override {
      recorder_->finish(stream.id());
      recorder_->note("host waits for", stream.id());
    }
    void destroyEvent(void* event, c10::DeviceIndex) const noexcept override {
      delete static_cast<Event*>(event);
    }

   private:
    static c10::Stream stream(c10::StreamId id) {
      return c10::Stream(c10::Stream::UNSAFE, device(), id);
    }

    RecordingDevice* recorder_;
  };

  struct Hooks : at::PrivateUse1HooksInterface {
    bool isBuilt() const override { return true; }
    bool isAvailable() const override { return true; }
    bool hasPrimaryContext(c10::DeviceIndex) const override { return false; }
    at::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
  };

  static RecordingDevice& the() {
    static auto* const device = new RecordingDevice();  // never destroyed, as tensors may be
    return *device;
  }

  static at::Tensor empty(c10::SymIntArrayRef sizes, std::optional<at::ScalarType> dtype,
                          std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                          std::optional<at::MemoryFormat> format) {
    the().note("memory of", the().current_);
    const at::Tensor made = at::detail::empty_generic(
        C10_AS_INTARRAYREF_SLOW(sizes), the().memory_.get(),
        c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), dtype.value_or(at::kFloat), format);
    std::memset(made.mutable_data_ptr(), 0xee, made.nbytes());
    return made;
  }
  static at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
    EXPECT_TRUE(from.is_contiguous() && to.is_contiguous() && from.nbytes() == to.nbytes());
    the().queues_[the().current_].waiting.emplace_back(
        [from, to] { std::memcpy(to.mutable_data_ptr(), from.const_data_ptr(), from.nbytes()); });
    the().note("copy of", the().current_);
    ++the().copies;
    return to;
  }
  static void record_stream(at::Tensor&, at::Stream stream) { the().note("used by", stream.id()); }

  // Memory of the host that says it is the device's.
  struct Memory : c10::Allocator {
    c10::DataPtr allocate(size_t bytes) override {
      void* const data = std::malloc(bytes == 0 ? 1 : bytes);
      return {data, data, &std::free, device()};
    }
    c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
    void copy_data(void* to, const void* from, size_t bytes) const override {
      default_copy_data(to, from, bytes);
    }
  };

  static RecordingDevice* make() {
    c10::register_privateuse1_backend("recorder");
    at::RegisterPrivateUse1HooksInterface(new Hooks());
    static const c10::impl::DeviceGuardImplRegistrar guard(kType, new Guard(the()));
    static torch::Library operators(torch::Library::IMPL, "aten", c10::DispatchKey::PrivateUse1,
                                    __FILE__, __LINE__);
    operators.impl("empty.memory_format", &empty);
    operators.impl("_copy_from", &copy_from);
    operators.impl("record_stream", &record_stream);
    operators.impl(
        "view", static_cast<at::Tensor (*)(const at::Tensor&, at::IntArrayRef)>(&at::native::view));
    operators.impl("as_strided", &at::native::as_strided_tensorimpl);
    return &the();
  }

  c10::StreamId current_ = kComputing;
  std::map<c10::StreamId, Queue> queues_;
  std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
};

}  // namespace models
