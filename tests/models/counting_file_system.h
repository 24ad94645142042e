// The file system, with a count of the bytes that are read from files.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "bridge/io/file/file_system.h"
#include "tests/io/file/fault_file_system.h"

namespace models {

class CountingFileSystem : public bridge::FaultFileSystem {
 public:
  CountingFileSystem() : FaultFileSystem(bridge::real_file_system()) {}

  int64_t bytes_read() const { return bytes_read_; }
  std::unique_ptr<bridge::File> open_read(const bridge::Path& path) override {
    return std::make_unique<Counted>(FaultFileSystem::open_read(path), bytes_read_);
  }

 private:
  class Counted : public bridge::File {
   public:
    Counted(std::unique_ptr<bridge::File> file, std::atomic<int64_t>& bytes)
        : file_(std::move(file)), bytes_(bytes) {}

    const bridge::Path& path() const override { return file_->path(); }
    bridge::Stat stat() const override { return file_->stat(); }
    int64_t size() const override { return file_->size(); }
    void read_at(int64_t offset, std::span<std::byte> out) const override {
      bytes_ += std::ssize(out);
      file_->read_at(offset, out);
    }
    void write_at(int64_t offset, std::span<const std::byte> data) override {
      file_->write_at(offset, data);
    }
    void allocate(int64_t size) override { file_->allocate(size); }
    void sync() override { file_->sync(); }

   private:
    std::unique_ptr<bridge::File> file_;
    std::atomic<int64_t>& bytes_;
  };

  std::atomic<int64_t> bytes_read_ = 0;
};

}  // namespace models
