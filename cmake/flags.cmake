# Warnings, hardening and sanitizers: one list, used by every target through tlgate_flags.
add_library(tlgate_flags INTERFACE)
target_include_directories(tlgate_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(tlgate_flags INTERFACE _GNU_SOURCE TLGATE_VERSION="${PROJECT_VERSION}")
target_compile_options(tlgate_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes -Wformat=2
  -Wswitch-enum -Wvla -Wundef -Wpointer-arith -Wno-unused-parameter
  -fno-common -fno-strict-aliasing -include ${CMAKE_SOURCE_DIR}/core/banned.h)

if(TLGATE_WERROR)
  target_compile_options(tlgate_flags INTERFACE -Werror)
endif()

if(TLGATE_FAULTS)
  target_compile_definitions(tlgate_flags INTERFACE TLGATE_FAULTS=1)
endif()

if(TLGATE_FUZZ)
  target_compile_options(tlgate_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

if(TLGATE_SANITIZE)
  target_compile_options(tlgate_flags INTERFACE
    -fsanitize=${TLGATE_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(tlgate_flags INTERFACE -fsanitize=${TLGATE_SANITIZE})
endif()

if(TLGATE_HARDEN)
  target_compile_options(tlgate_flags INTERFACE
    -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE
    -ftrivial-auto-var-init=zero -ffile-prefix-map=${CMAKE_SOURCE_DIR}=.)
  target_link_options(tlgate_flags INTERFACE
    -ffile-prefix-map=${CMAKE_SOURCE_DIR}=. -pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed)
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ON)
endif()

if(TLGATE_COVERAGE)
  # Threads share the counters: without atomic updates they become negative and gcovr gives up.
  target_compile_options(tlgate_flags INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(tlgate_flags INTERFACE --coverage)
endif()
