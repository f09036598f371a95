// Packets by the thousand, drawn from the values that rules look at and their neighbours. The same seed gives the same
// packets.
#pragma once

#include "testbed.hpp"

#include <random>

namespace killswitch::testing {

class Traffic {
public:
  explicit Traffic(std::uint32_t seed) : random_{seed} {}

  /// Any journey; its packet is not laid out yet.
  decide::Journey any();
  decide::Journey sent();
  decide::Journey forwarded();
  decide::Journey received();
  decide::Journey frame();

private:
  std::size_t up_to(std::size_t limit) { return std::uniform_int_distribution<std::size_t>{0, limit - 1}(random_); }
  bool one_in(std::size_t n) { return up_to(n) == 0; }
  template <typename T>
  T pick(std::initializer_list<T> values) {
    return *(values.begin() + up_to(values.size()));
  }
  model::IpAddress pick_address(std::initializer_list<const char*> texts);

  void draw_protocol(Packet& packet);
  void draw_ports(Packet& packet);
  void draw_icmp(Packet& packet);
  /// A DNS question for the server's name, or one that is nearly that.
  void draw_question(Packet& packet);
  void draw_fragment(Packet& packet);
  /// An ICMP error of the family of `packet` that quotes one of our packets.
  void quote(Packet& packet);

  std::mt19937 random_;
};

}  // namespace killswitch::testing
