#include "killswitch/sense/dns.hpp"

#include "killswitch/os/log.hpp"

namespace killswitch::sense {
namespace {

using model::FileCopy;

FileCopy::Kind kind_of(os::Snapshot::Kind kind) {
  switch (kind) {
    case os::Snapshot::Kind::absent: return FileCopy::Kind::absent;
    case os::Snapshot::Kind::regular: return FileCopy::Kind::regular;
    case os::Snapshot::Kind::symlink: return FileCopy::Kind::symlink;
    case os::Snapshot::Kind::other: break;
  }
  return FileCopy::Kind::other;
}

model::ResolvConf facts_of(os::Snapshot snapshot) {
  model::ResolvConf found;
  found.file = {
      kind_of(snapshot.kind), std::move(snapshot.target), std::move(snapshot.content), snapshot.mode, snapshot.user,
      snapshot.group};
  found.real_path = std::move(snapshot.real_path);
  found.mount_point = snapshot.mount_point;
  found.immutable = snapshot.immutable;
  return found;
}

}  // namespace

DnsSensor::DnsSensor(os::EventLoop& loop, std::function<void(model::Event)> report, std::string resolv_conf)
    : loop_{loop}, report_{std::move(report)}, path_{std::move(resolv_conf)} {
  const auto slash = path_.rfind('/');
  directory_ = path_.substr(0, slash);
  name_ = path_.substr(slash + 1);
}

void DnsSensor::use_bus(os::Bus* bus) {
  services_.reset();
  asking_ = false;
  ask_again_ = false;
  if (bus != nullptr) {
    services_.emplace(
        *bus, [this] { look(); },
        [this] {
          ++facts_.restarts;
          look();
        });
  }
  look();
}

void DnsSensor::look(std::function<void()> then) {
  if (then) {
    waiting_.push_back(std::move(then));
  }
  if (asking_) {
    ask_again_ = true;
    return;
  }
  begin();
}

void DnsSensor::begin() {
  ask_again_ = false;
  auto waiting = std::exchange(waiting_, {});
  const auto finish = [this, waiting = std::move(waiting)] {
    services_known_ = true;
    look_at_file();
    tell();
    for (const auto& then : waiting) {
      then();
    }
  };
  if (!services_) {
    facts_.networkmanager.reset();
    facts_.resolved.reset();
    finish();
    return;
  }
  asking_ = true;
  services_->ask([this, finish](DnsServices::Found found) {
    asking_ = false;
    facts_.networkmanager = std::move(found.networkmanager);
    facts_.resolved = std::move(found.resolved);
    again_ = {};
    if (!found.whole) {
      look_later();
    }
    finish();
    if (ask_again_ && !asking_) {
      begin();
    }
  });
}

void DnsSensor::look_later() {
  constexpr std::chrono::milliseconds pause{500};
  auto timer = loop_.after(pause, [this] { look(); });
  if (timer) {
    again_ = std::move(*timer);
  }
}

model::ResolvConf DnsSensor::resolv_conf_now() const {
  auto snapshot = os::take_snapshot(path_);
  if (!snapshot) {
    os::log(os::LogLevel::warning, snapshot.error().message());
    model::ResolvConf unreadable;
    unreadable.file.kind = FileCopy::Kind::other;
    return unreadable;
  }
  return facts_of(*std::move(snapshot));
}

void DnsSensor::look_at_file() {
  facts_.resolv_conf = resolv_conf_now();
  watch();
}

void DnsSensor::watch() {
  const auto watch_one = [this](const std::string& path, auto callback) {
    auto source = loop_.watch_path(path.c_str(), std::move(callback));
    return source ? std::move(*source) : os::EventSource{};
  };
  if (!directory_watch_) {
    directory_watch_ = watch_one(directory_, [this](const char* name) { on_file_event(name); });
  }
  // Behind a link or a mount the directory of the name says nothing of what is written.
  const auto& found = facts_.resolv_conf;
  const auto file = found.mount_point || found.real_path != path_ ? found.real_path : std::string{};
  if (file == watched_file_) {
    return;
  }
  watched_file_ = file;
  file_watch_ = {};
  target_watch_ = {};
  if (file.empty()) {
    return;
  }
  file_watch_ = watch_one(file, [this](const char*) { on_file_event(name_.c_str()); });
  if (const auto slash = file.rfind('/'); slash != 0 && slash != std::string::npos) {
    target_watch_ = watch_one(file.substr(0, slash), [this, name = file.substr(slash + 1)](const char* changed) {
      if (name == changed) {
        watched_file_.clear();  // it may be another file now
        on_file_event(name_.c_str());
      }
    });
  }
}

void DnsSensor::on_file_event(const char* name) {
  // Without a name: the directory itself, or events that were lost.
  if ((*name != '\0' && name_ != name) || !services_known_) {
    return;
  }
  look_at_file();
  tell();
}

void DnsSensor::tell() {
  report_(model::DnsFound{facts_});
}

}  // namespace killswitch::sense
