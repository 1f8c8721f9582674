"""What `cachee bench` measures: the proxy beside the server, a byte relay and other proxies.

[`cases`] what is asked, [`contenders`] who answers, [`rounds`] how it is measured, [`report`] what
is made of it. The load comes from `cachee._core.generate_load`.
"""

__all__: list[str] = []
